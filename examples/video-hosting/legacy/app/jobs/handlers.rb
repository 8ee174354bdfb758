# frozen_string_literal: true

require_relative "job"

Job.handle(:charge_views) do |video_id:, period:, views:|
  Video.find(video_id).charges.create!(period: period, currency: "EUR", amount_minor: views * 3)
end

Job.handle(:rename_company) do |from:, to:|
  User.where(company: from).find_each(batch_size: 10) { |user| user.update!(company: to) }
end

Job.handle(:close_account) { |user_id:| User.find(user_id).destroy! }
