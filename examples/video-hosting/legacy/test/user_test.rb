# frozen_string_literal: true

require_relative "test_helper"

class UserTest < TestCase
  def test_a_new_user_has_a_welcome_video
    ada = user
    assert_equal [Video::WELCOME], ada.videos.pluck(:title)
    assert_equal 1, ada.reload.videos_count
  end

  def test_a_name_is_needed_and_blanks_around_it_go
    refute User.new(name: " ").valid?
    assert_equal "Ada", user("  Ada ").reload.name
  end

  def test_an_empty_company_is_none
    assert_nil user(company: "").reload.company
    ada = user(company: "Ada Ltd")
    ada.update!(company: " ")
    assert_nil ada.reload.company
  end

  def test_names_of_all_scripts_and_sorts
    names = ["愛子", "Đorđe \"the\" 'great'", "😀\u0301", "a\\b%_;--", "x" * 10_000]
    ids = names.map { |name| user(name, company: name).id }
    assert_equal names, User.where(id: ids).order(:id).pluck(:name)
    assert_equal names, User.where(id: ids).order(:id).pluck(:company)
  end

  def test_only_what_changed_is_written
    ada = user(company: "Ada Ltd")
    before = ada.reload.updated_at
    ada.save!
    assert_equal before, ada.reload.updated_at
  end

  def test_destroy_takes_videos_and_charges_along
    ada = user
    two = [video(ada), video(ada, "Second")]
    charges = two.map { |each| charge(each, 100) }
    counted = User.count
    assert ada.destroy
    assert_equal counted - 1, User.count
    assert_empty Video.where(id: two.map(&:id))
    assert_empty Charge.where(id: charges.map(&:id))
  end

  def test_delete_refuses_while_there_are_videos
    ada = user
    assert_raises(ActiveRecord::InvalidForeignKey) { User.transaction(requires_new: true) { ada.delete } }
    assert User.exists?(ada.id)
  end

  def test_delete_all_goes_when_nothing_is_left
    ids = Array.new(3) { |number| user("User #{number}").id }
    assert_equal 3, Video.where(user_id: ids).delete_all
    assert_equal 3, User.where(id: ids).delete_all
    assert_equal 0, User.where(id: ids).count
  end

  def test_absorbing_moves_everything_and_removes_the_other
    ada, grace = user, user("Grace")
    theirs = video(grace, "Compilers")
    paid = charge(theirs, 500)
    ada.absorb!(grace)
    refute User.exists?(grace.id)
    assert_equal ada.id, theirs.reload.user_id
    assert_equal ada.id, paid.reload.user_id
    assert_equal 3, ada.videos_count
    assert_equal 3, ada.videos.count
  end

  def test_update_all_tells_how_many_rows
    ids = Array.new(5) { |number| user("User #{number}", company: "Old Ltd").id }
    assert_equal 5, User.where(id: ids).update_all(company: "New Ltd")
    assert_equal 0, User.where(id: ids, company: "Old Ltd").update_all(company: "X")
    assert_equal 2, User.where(id: ids.first(2)).update_all("company = company || '!'")
    assert_equal ["New Ltd", "New Ltd!"], User.where(id: ids).distinct.order(:company).pluck(:company)
  end

  def test_find_or_create_makes_one
    name = "Only #{month} #{rand(2**60)}"
    assert_equal User.find_or_create_by!(name: name).id, User.find_or_create_by!(name: name).id
  end

  def test_an_id_of_ones_own
    id = User.maximum(:id).to_i + 1_000_000
    assert_equal id, user("Chosen", id: id).id
    assert_equal 1, Video.where(user_id: id).count
  end
end
