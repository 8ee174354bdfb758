# frozen_string_literal: true

# A video belongs to the user who uploaded it, or to whom it was given.
class Video < ApplicationRecord
  WELCOME = "Welcome"

  belongs_to :user, counter_cache: true, touch: true
  has_many :charges, dependent: :destroy

  validates :title, presence: true
  scope :uploaded, -> { where.not(title: WELCOME) }

  attr_reader :announcements
  after_update :take_open_charges_along, if: :saved_change_to_user_id?
  after_commit(on: :update) { (@announcements ||= []) << title }

  def give_to!(receiver)
    with_lock { update!(user: receiver) }
  end

  private

  # Whoever has a video pays for the months that are not billed yet.
  def take_open_charges_along
    charges.where.not(period: Period.closed.select(:period)).update_all(user_id: user_id)
  end
end
